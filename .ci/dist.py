"""Build the sdist and from it the wheel, look into both, and run the wheel alone, away from the checkout.

    python .ci/dist.py FOLDER

FOLDER is emptied first. The wheel is installed without its dependencies in a new environment, which finds them in the
environment of the Python that runs this: nothing is downloaded.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "indexer", "training", "studies")
SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def main() -> None:
    """Build, look, use."""
    folder = Path(sys.argv[1]).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    sdist, wheel = build(folder)
    look(sdist, wheel)
    with tempfile.TemporaryDirectory() as elsewhere:
        print(use(wheel, Path(elsewhere)))


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist of the checkout, and the wheel of the sdist."""
    shutil.rmtree(
        ROOT / "mneme.egg-info", ignore_errors=True
    )  # setuptools would pack again what it packed before
    subprocess.run([sys.executable, "-c", SDIST, folder], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    (sdist,) = folder.glob("*.tar.gz")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, sdist], check=True)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def look(sdist: Path, wheel: Path) -> None:
    """Check that both hold all of our code, the licence and the mark of types, and nothing else of the checkout."""
    code = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    product = (
        code | {"cli.py", "mneme.py", "mneme_command.py"} | {f"{package}/py.typed" for package in PACKAGES}
    )
    about = {"LICENSE", "README.md", "CHANGELOG.md", "MANIFEST.in", "pyproject.toml", "setup.cfg", "PKG-INFO"}
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
        same({name for name in files if ".egg-info/" not in name}, product | about, sdist)
    with ZipFile(wheel) as archive:
        same({name for name in archive.namelist() if ".dist-info/" not in name}, product, wheel)
        if not any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist()):
            raise SystemExit(f"{wheel.name}: no licence")


def same(files: set[str], expected: set[str], archive: Path) -> None:
    """Leave with both differences, where there is one."""
    if files != expected:
        raise SystemExit(
            f"{archive.name}: {sorted(expected - files)} missing, {sorted(files - expected)} too many"
        )


def use(wheel: Path, elsewhere: Path) -> str:
    """Install a wheel alone, import every module of it and run the command; return what it says its version is."""
    venv.create(elsewhere / "venv")
    python, command = (str(elsewhere / "venv/bin" / name) for name in ("python", "mneme"))
    subprocess.run([*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (elsewhere / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # does not follow editable installs
    with ZipFile(wheel) as archive:
        modules = [name.removesuffix(".py") for name in archive.namelist() if name.endswith(".py")]
    names = ", ".join(module.removesuffix("/__init__").replace("/", ".") for module in modules)
    imports = f"import sys, {names}; assert cli.__file__.startswith(sys.prefix)"
    for program in ([python, "-c", imports], [command, "--help"]):
        subprocess.run(program, cwd=elsewhere, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
    return subprocess.run(
        [command, "--version"], cwd=elsewhere, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    main()
