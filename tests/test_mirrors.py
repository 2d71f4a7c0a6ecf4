"""Every module has its tests where a reader looks for them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def missing_mirrors(package: Path, tests: Path) -> list[str]:
    """Modules of a package without a file `test_<module>.py` in the folder of their name."""
    modules = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    places = {path.relative_to(package): f"test_{path.name}" for path in modules}
    return sorted(
        str(path) for path, name in places.items() if not (tests / path.parent / name).is_file()
    )


def test_every_module_has_a_mirrored_test_file():
    assert missing_mirrors(ROOT / "ich_study", ROOT / "tests") == []


def test_a_module_without_one_is_named(tmp_path):
    for path in ("package/a/b.py", "package/a/c.py", "package/a/__init__.py", "tests/a/test_b.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert missing_mirrors(tmp_path / "package", tmp_path / "tests") == ["a/c.py"]
