"""One home in C++: what is done in one place is done nowhere else; Python's homes are in test_python_rules.py."""

from __future__ import annotations

import re

import pytest
from repository import BINDINGS, ROOT, SOURCE, cpp_code, cpp_files, is_test, name_of

_ACTIONS = "moving and undoing: no image is replaced, by renames that fail where the name is taken"
# What, how it looks in code (a string stays in quotes), and the files that may have it, each with its reason.
HOMES: dict[str, tuple[str, dict[str, str]]] = {
    "rename": (
        r"\b(?:renameat2?|rename)\s*\(|\bfilesystem::rename\b|\bSYS_renameat",
        {
            "inference/src/base/files.cc": "a result that replaces what was there as a whole",
            "inference/src/program/actions/files.cc": _ACTIONS,
        },
    ),
    "a temporary name": (
        r"\b(?:mko?stemps?|mkdtemp|mktemp|tmpfile|tmpnam|tempnam)\s*\(|\bO_TMPFILE\b",
        {"inference/src/base/files.cc": "the temporary file or folder of a result"},
    ),
    "threads": (
        r"\bstd::(?:j?thread|async|execution)\b|\bpthread_create\b|#\s*pragma\s+omp\b",
        {
            "inference/src/base/parallel.cc": "the parallel loop",
            "inference/src/engine/embedder_model.cc": "one call beside another: a checksum while ONNX Runtime loads",
        },
    ),
    "file identity": (
        r"\bst_ino\b|\bfilesystem::equivalent\b",
        {
            "inference/src/base/files.h": "device and inode, as FileId",
            "inference/src/image/decode.cc": "not compared: passed on with what fstat says of a decoded file",
            "inference/src/program/actions/files.cc": "one field of the whole state of a file, which the journal keeps",
            "inference/src/similarity/stored.cc": "the same, which a store keeps",
        },
    ),
    "the cache folder": (
        r"XDG_CACHE_HOME|\"/?\.cache\b",
        {"inference/src/base/cache_folder.cc": "the one that says where it is"},
    ),
    "hashing": (
        r"\bXXH\w*\s*\(|\bSHA256_|\bEVP_|\bstd::hash\b",
        {"inference/src/base/hash.cc": "the checksum of a file"},
    ),
}


def has(what: str, text: str) -> bool:
    return re.search(HOMES[what][0], cpp_code(text, strings=True)) is not None


@pytest.mark.parametrize("what", sorted(HOMES))
def test_one_home(what: str) -> None:
    files = [path for folder in (SOURCE, ROOT / "include", BINDINGS) for path in cpp_files(folder) if not is_test(path)]
    assert len(files) > 100
    found = {name_of(path) for path in files if has(what, path.read_text(encoding="utf-8"))}
    assert found == set(HOMES[what][1])


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        ("rename", "if (std::rename(a, b) != 0) return;"),
        ("rename", "renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE);"),
        ("rename", "std::filesystem::rename(a, b);"),
        ("a temporary name", "int file = mkstemp(name.data());"),
        ("threads", "std::vector<std::thread> pool;"),
        ("threads", "pthread_create(&thread, nullptr, Run, nullptr);"),
        ("threads", "#pragma omp parallel for"),
        ("file identity", "return first.st_ino == second.st_ino;"),
        ("the cache folder", 'std::getenv("XDG_CACHE_HOME")'),
        ("the cache folder", 'home + "/.cache/rrn"'),
        ("hashing", "XXH3_64bits(data, size);"),
    ],
)
def test_planted(what: str, bad: str) -> None:
    assert has(what, bad)


@pytest.mark.parametrize(
    ("what", "good"),
    [
        ("rename", "// rename(a, b)\nconst Status renamed = RenameNew(a, b); Rename(part, name);"),
        ("threads", "std::this_thread::yield(); options.threads = 2;  // std::thread"),
        ("the cache folder", "// in $XDG_CACHE_HOME/rrn\nCacheFolder();"),
    ],
)
def test_not_planted(what: str, good: str) -> None:
    assert not has(what, good)
