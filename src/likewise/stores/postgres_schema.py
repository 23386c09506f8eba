"""The tables and functions of a PostgreSQL store, in a schema of their own.

Every write is one call of a function, so that it costs one way to the server and is done as a whole
or not at all. A function takes the row of ``head`` first: so changes are visible in the order of
their numbers, and a follower that has seen one has seen all before it.
"""

from __future__ import annotations

import secrets
from typing import Any

from likewise.errors import StoreError
from likewise.stores.remote import missing

FORMAT = 1

_TABLES = """
CREATE TABLE {s}.meta (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE {s}.head (seq bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO {s}.head VALUES (0);
CREATE TABLE {s}.entries (
    id text PRIMARY KEY,
    key bytea NOT NULL UNIQUE,
    seq bigint NOT NULL,
    scope bytea NOT NULL,
    category text NOT NULL,
    gone_at timestamptz,
    packed bytea NOT NULL,
    answer bytea NOT NULL
);
ALTER TABLE {s}.entries ALTER COLUMN packed SET STORAGE EXTERNAL;
CREATE INDEX ON {s}.entries (seq);
CREATE INDEX ON {s}.entries (category);
CREATE INDEX ON {s}.entries (gone_at) WHERE gone_at IS NOT NULL;
CREATE TABLE {s}.feed (
    seq bigint PRIMARY KEY, kind text NOT NULL, body bytea NOT NULL, origin bytea
);
CREATE TABLE {s}.verdicts (
    entry_key bytea NOT NULL, key bytea NOT NULL, correct boolean NOT NULL,
    PRIMARY KEY (entry_key, key)
);
CREATE TABLE {s}.labels (seq bigint PRIMARY KEY, label bytea NOT NULL);
CREATE TABLE {s}.memos (name text PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE {s}.counters (
    category text NOT NULL, name text NOT NULL, value double precision NOT NULL,
    PRIMARY KEY (category, name)
);
"""

_FUNCTIONS = """
CREATE FUNCTION {s}.tell(kind text, body bytea, origin bytea, most bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    UPDATE {s}.head SET seq = seq + 1 RETURNING seq INTO n;
    INSERT INTO {s}.feed VALUES (n, kind, body, origin);
    DELETE FROM {s}.feed WHERE seq <= n - most;
    PERFORM pg_notify('{s}', '');
    RETURN n;
END $$;

CREATE FUNCTION {s}.gone(names text[], origin bytea, most bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(names) > 0 THEN
        PERFORM {s}.tell('gone', convert_to(to_json(names)::text, 'UTF8'), origin, most);
    END IF;
END $$;

CREATE FUNCTION {s}.put(
    new_id text, new_key bytea, new_scope bytea, new_category text, keep_s double precision,
    new_packed bytea, new_answer bytea, names bytea, origin bytea, most bigint
) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE replaced text[]; n bigint;
BEGIN
    -- What is lost when the server itself dies within a moment is only an answer to reuse.
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM seq FROM {s}.head FOR UPDATE;
    WITH old AS (DELETE FROM {s}.entries WHERE key = new_key AND id <> new_id RETURNING id)
    SELECT coalesce(array_agg(id), '{{}}') INTO replaced FROM old;
    PERFORM {s}.gone(replaced, origin, most);
    n := {s}.tell('put', names, origin, most);
    INSERT INTO {s}.entries VALUES (
        new_id, new_key, n, new_scope, new_category,
        clock_timestamp() + make_interval(secs => keep_s), new_packed, new_answer
    )
    ON CONFLICT (id) DO UPDATE SET
        key = excluded.key, seq = excluded.seq, scope = excluded.scope,
        category = excluded.category, gone_at = excluded.gone_at, packed = excluded.packed,
        answer = excluded.answer;
    RETURN replaced;
END $$;

CREATE FUNCTION {s}.drop(names text[], origin bytea, most bigint) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE dropped text[];
BEGIN
    PERFORM seq FROM {s}.head FOR UPDATE;
    WITH old AS (DELETE FROM {s}.entries WHERE id = ANY (names) RETURNING id)
    SELECT coalesce(array_agg(id), '{{}}') INTO dropped FROM old;
    PERFORM {s}.gone(dropped, origin, most);
    RETURN dropped;
END $$;

CREATE FUNCTION {s}.judge(
    new_entry_key bytea, new_key bytea, new_correct boolean, body bytea, origin bytea, most bigint
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {s}.tell('verdict', body, origin, most);
    INSERT INTO {s}.verdicts VALUES (new_entry_key, new_key, new_correct)
    ON CONFLICT (entry_key, key) DO UPDATE SET correct = excluded.correct;
END $$;

CREATE FUNCTION {s}.label(new_labels bytea[], most_labels bigint, origin bytea, most bigint)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE first bigint;
BEGIN
    PERFORM {s}.tell('labels', '[]', origin, most);
    SELECT value::bigint INTO first FROM {s}.meta WHERE name = 'labels' FOR UPDATE;
    INSERT INTO {s}.labels
    SELECT first + place, label FROM unnest(new_labels) WITH ORDINALITY AS given (label, place);
    UPDATE {s}.meta SET value = (first + cardinality(new_labels))::text WHERE name = 'labels';
    DELETE FROM {s}.labels WHERE seq <= first + cardinality(new_labels) - most_labels;
END $$;

CREATE FUNCTION {s}.note(
    new_name text, new_value bytea, body bytea, origin bytea, most bigint
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM {s}.tell('memo', body, origin, most);
    INSERT INTO {s}.memos VALUES (new_name, new_value)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
END $$;
"""


def prepare(db: Any, schema: str, url: str, *, create: bool = True) -> str:
    """Make the tables where there are none; return the identity of the store.

    ``db`` is an open connection of psycopg.

    Raises:
        StoreError: The schema is another program's, or of a later version.
        psycopg.Error: The server refuses.
    """
    with db.transaction():
        # One at a time: many workers start together.
        db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"likewise {schema}",))
        query = "SELECT count(*) FROM information_schema.tables WHERE table_schema = %s"
        (tables,) = db.execute(query, (schema,)).fetchone()
        (ours,) = db.execute("SELECT to_regclass(%s)", (f"{schema}.meta",)).fetchone()
        if tables and ours is None:
            raise _foreign(schema, url)
        if not tables and not create:
            raise missing(url)
        if not tables:
            db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            db.execute(_TABLES.format(s=schema))
            db.execute(_FUNCTIONS.format(s=schema))
            for pair in (
                ("format", str(FORMAT)), ("id", secrets.token_hex(8)), ("labels", "0")
            ):  # fmt: skip
                db.execute(f"INSERT INTO {schema}.meta VALUES (%s, %s)", pair)  # noqa: S608 - checked
        columns = db.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = 'meta'",
            (schema,),
        ).fetchall()
        if {name for (name,) in columns} != {"name", "value"}:
            raise _foreign(schema, url)
        known = dict(db.execute(f"SELECT name, value FROM {schema}.meta").fetchall())  # noqa: S608
    if "format" not in known or "id" not in known:
        raise _foreign(schema, url)
    if int(known["format"]) > FORMAT:
        msg = (
            f"{url} was written by a newer Likewise (format {known['format']}, this one knows "
            f"{FORMAT}); upgrade Likewise or add ?schema=NAME to the store's address"
        )
        raise StoreError(msg)
    return str(known["id"])


def _foreign(schema: str, url: str) -> StoreError:
    msg = (
        f"the schema {schema} in {url} is of another program; add ?schema=NAME to the store's "
        "address, or name another database"
    )
    return StoreError(msg)
