"""Tests of the command line, through processes of its own."""
