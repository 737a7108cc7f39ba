"""Packages are fetched once, verified, and read safely. A small Python program stands for the registry's client."""

import hashlib
import io
import lzma
import sys
import tarfile
import zipfile

import pytest

from mmjax.data import fetch as module
from mmjax.data.decode import DataError
from mmjax.data.fetch import DEBIAN, NPM, PYPI, Client, cache_folder, extract, fetch, members

CONTENT = b"the package"
SUM = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mmjax" / "packages"


def client(program: str) -> Client:
    return Client("a registry", sys.executable, lambda name, version: ["-S", "-c", program, name, version])


WRITES = client(f"import sys; open(f'{{sys.argv[1]}}-{{sys.argv[2]}}.tgz'.replace('/', '-'), 'wb').write({CONTENT!r})")
FAILS = client("import sys; sys.exit('downloading\\nE404: there is no such package')")


def left(cache):
    return [path for path in cache.rglob("*") if path.is_file() or path.name.startswith(".partial")] if cache.exists() else []


def test_a_package_is_fetched_once_and_verified_at_each_use(cache):
    file = fetch(WRITES, "@scope/data", "1.0", SUM)
    assert file.read_bytes() == CONTENT and cache_folder() in file.parents
    assert fetch(FAILS, "@scope/data", "1.0", SUM) == file  # from the cache
    file.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="is damaged; @scope/data 1.0 is fetched again"):
        again = fetch(WRITES, "@scope/data", "1.0", SUM)
    assert again.read_bytes() == CONTENT
    assert left(cache) == [again]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FAILS, "data 1.0 could not be fetched from a registry: E404: there is no such package"),
        (client("pass"), "data 1.0 could not be fetched from a registry: it wrote 0 files instead of one"),
        (client("open('x', 'w').write('other')"), f"x is not opened: its sha256 is {OTHER}; it must be"),
        (Client("a registry", "no-such-program", NPM.arguments), "by no-such-program, which is not installed"),
    ],
)
def test_a_failed_download_gives_one_line_and_leaves_nothing(cache, source, message):
    with pytest.raises(DataError, match=message) as caught:
        fetch(source, "data", "1.0", SUM)
    assert "\n" not in str(caught.value)
    assert left(cache) == []


def test_clients_fetch_one_version_of_one_package():
    assert PYPI.arguments("a", "1.0")[-1] == "a==1.0" and "--no-deps" in PYPI.arguments("a", "1.0")
    assert NPM.arguments("@s/a", "1.0") == ["pack", "--silent", "--ignore-scripts", "@s/a@1.0"]
    assert DEBIAN.arguments("a", "1:2-3") == ["download", "-qq", "a=1:2-3"]


FILES = {"a/one.txt": b"1", "a/b/two.txt": b"22", "c.txt": b"333"}


def tar_of(files, mode="w:gz", prefix=""):
    with tarfile.open(fileobj=(made := io.BytesIO()), mode=mode) as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(prefix + name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo(prefix + "a/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
    return made.getvalue()


def zip_of(files):
    with zipfile.ZipFile(made := io.BytesIO(), "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return made.getvalue()


def deb_of(files, suffix=".xz", compress=lzma.compress):
    def entry(name, content):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        return header.encode() + content + b"\n" * (len(content) % 2)

    parts = {"debian-binary": b"2.0\n", "control.tar.gz": b"abc", f"data.tar{suffix}": compress(tar_of(files, "w", "./"))}
    return b"!<arch>\n" + b"".join(entry(*part) for part in parts.items())


@pytest.mark.parametrize("make", [tar_of, zip_of, deb_of])
def test_members_of_every_kind_of_archive(tmp_path, make):
    file = tmp_path / "archive"
    file.write_bytes(make(FILES))
    assert dict(members(file)) == FILES  # a link is not a regular file
    assert dict(members(file, "a/")) == {name: content for name, content in FILES.items() if name.startswith("a/")}
    assert {path.relative_to(tmp_path / "out").as_posix() for path in extract(file, tmp_path / "out", "a/")} == {
        "one.txt", "b/two.txt"
    }  # fmt: skip
    assert (tmp_path / "out" / "b" / "two.txt").read_bytes() == b"22"


@pytest.mark.parametrize("make", [tar_of, zip_of, deb_of])
@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt"])
def test_no_member_is_written_outside_the_folder(tmp_path, make, name):
    file = tmp_path / "archive"
    if make is deb_of and name.startswith("/"):
        name = "../evil.txt"  # the prefix "./" would make the path relative
    file.write_bytes(make({name: b"evil"}))
    with pytest.raises(DataError, match="leaves the archive; its paths must be relative"):
        extract(file, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_damaged_and_other_archives_give_one_line(tmp_path, monkeypatch):
    file = tmp_path / "archive"
    for content, message in [
        (b"text", "the archive cannot be read"),
        (tar_of(FILES)[:-40], "the archive cannot be read"),
        (b"!<arch>\n", "there is no data.tar in it"),
        (deb_of(FILES, ".zst", bytes), "compressed by zstd; xz and gzip are read"),
    ]:
        file.write_bytes(content)
        with pytest.raises(DataError, match=message) as caught:
            list(members(file))
        assert "\n" not in str(caught.value)
    file.write_bytes(zip_of(FILES))
    monkeypatch.setattr(module, "MAX_MEMBER", 2)
    with pytest.raises(DataError, match=r"'c\.txt' has 3 bytes; at most 2 are read"):
        list(members(file))
