"""What the program makes from its table of flags: help, the manual page, completions, the list for programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import BINARY, RunSimilarity
from rrn_native import _load

KINDS = ("man", "complete-bash", "complete-zsh", "complete-fish", "json")


def generate(run_similarity: RunSimilarity, kind: str) -> str:
    run = run_similarity("--generate", kind)
    assert (run.returncode, run.stderr) == (0, b"")
    text: str = run.stdout.decode()
    return text


@pytest.fixture
def flags(run_similarity: RunSimilarity) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(generate(run_similarity, "json"))["flags"]
    return found


def spellings(flags: list[dict[str, Any]]) -> set[str]:
    """All words that --help and the completions know."""
    shown = [flag for flag in flags if flag["replaced_by"] is None]
    names = {f"--{name}" for flag in shown for name in (flag["name"], flag["negation"]) if name}
    return names | {f"-{flag['letter']}" for flag in shown if flag["letter"]}


def test_the_list_for_programs(flags: list[dict[str, Any]]) -> None:
    by_name = {flag["name"]: flag for flag in flags}
    assert len(by_name) == len(flags)
    assert by_name["threshold"]["type"] == "number"
    assert by_name["threshold"]["default"] == 0.75
    assert [by_name["batch"][key] for key in ("type", "default", "low", "high")] == ["integer", 8, 1, 1024]
    assert [by_name["size"][key] for key in ("default", "low", "high", "or_zero")] == [0, 32, 4096, True]
    assert [by_name["recursive"][key] for key in ("type", "default", "negation")] == ["switch", True, "no-recursive"]
    assert by_name["max-pairs"]["high"] is None
    assert by_name["provider"]["choices"][0] == by_name["provider"]["default"] == "auto"
    assert [by_name["skip"][key] for key in ("type", "default")] == ["list", []]
    assert [by_name["model"][key] for key in ("type", "default")] == ["text", None]
    assert [by_name["help"][key] for key in ("type", "letter")] == ["question", "h"]
    assert "--move-to DIR" in by_name["action"]["replaced_by"]


def test_rrn_has_the_same_flags(flags: list[dict[str, Any]]) -> None:
    find = json.loads(_load.native.command_line_flags("rrn find"))
    assert find == {"program": "rrn find", "flags": flags}
    compare = json.loads(_load.native.command_line_flags("rrn compare"))
    assert compare["program"] == "rrn compare"
    assert compare["flags"] == [flag for flag in flags if not flag["folder_only"]]
    names = {flag["name"] for flag in compare["flags"]}
    assert {"threshold", "model", "precision", "quiet"} <= names
    assert not names & {"json", "against", "move-to", "undo", "search"}


def test_summary_and_help(run_similarity: RunSimilarity, flags: list[dict[str, Any]]) -> None:
    summary, text = (run_similarity(word).stdout.decode() for word in ("-h", "--help"))
    for flag in flags:
        if flag["replaced_by"] is None:
            # What is on unless it is switched off goes by the word that does that.
            word = flag["negation"] if flag["default"] is True else flag["name"]
            assert re.search(rf"--{word}\b", text), word
            assert re.search(rf"--{word}\b", summary), word
    assert len(summary) < len(text) / 2
    assert "--action" not in text
    # A question is answered before any work, and whatever comes after it.
    assert run_similarity("/nowhere", "--help", "--no-such-flag").stdout.decode() == text


@pytest.mark.parametrize("kind", KINDS)
def test_every_flag_is_there(run_similarity: RunSimilarity, flags: list[dict[str, Any]], kind: str) -> None:
    text = generate(run_similarity, kind)
    assert generate(run_similarity, kind) == text, "the same bytes every time"
    for word in spellings(flags):
        name = word.lstrip("-")
        expected = {
            "man": word.replace("-", "\\-"),
            "complete-fish": f" -{'s' if len(name) == 1 else 'l'} {name} ",
            "json": f'"{name}"',
        }.get(kind, word)
        assert expected in text, word


def test_generate_refuses(run_similarity: RunSimilarity) -> None:
    run = run_similarity("--generate", "pdf")
    assert run.returncode == 2
    assert b"expected one of man, complete-bash" in run.stderr


def test_the_manual_page_has_no_warnings(run_similarity: RunSimilarity, tmp_path: Path) -> None:
    page = tmp_path / "similarity.1"
    page.write_text(generate(run_similarity, "man"))
    if shutil.which("groff") is None:
        pytest.skip("needs groff (Debian: groff-base)")
    command = ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", str(page)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    assert "similarity - find the similar images of a folder" in run.stdout
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS"):
        assert heading in lines
    # Special characters come out as they went in.
    assert "find . -name '*.jpg' -print0 | similarity --list -" in run.stdout
    assert "\\n, \\r and \\\\" in " ".join(run.stdout.split())
    assert any(line.strip().startswith("--action list|json") for line in lines), "old forms are documented here"


def bash_offers(script: Path, *words: str, cwd: Path) -> list[str]:
    """What bash would offer for the last word."""
    command = """
      source "$1"; shift
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
      _similarity
      [ ${#COMPREPLY[@]} = 0 ] || printf '%s\\n' "${COMPREPLY[@]}"
    """
    run = subprocess.run(
        ["bash", "--norc", "-c", command, "bash", str(script), "similarity", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    return sorted(run.stdout.splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files" / "photos").mkdir(parents=True)
    (tmp_path / "files" / "a b.json").write_text("")
    return tmp_path / "files"


def test_bash(run_similarity: RunSimilarity, flags: list[dict[str, Any]], tmp_path: Path, folder: Path) -> None:
    script = tmp_path / "similarity.bash"
    script.write_text(generate(run_similarity, "complete-bash"))
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert bash_offers(script, "-", cwd=folder) == sorted(spellings(flags))
    assert bash_offers(script, "--pre", cwd=folder) == ["--precision"]
    assert bash_offers(script, "photos", "--keep", "s", cwd=folder) == ["sharpest"]
    # "--keep=s" is three words to bash.
    assert bash_offers(script, "--keep", "=", "s", cwd=folder) == ["sharpest"]
    assert bash_offers(script, "--search", "=", cwd=folder) == ["approximate", "exact"]
    assert bash_offers(script, "--against", "", cwd=folder) == ["photos"]
    assert bash_offers(script, "--json", "", cwd=folder) == ["a b.json", "photos"]
    assert bash_offers(script, "--batch", "", cwd=folder) == []
    assert bash_offers(script, "--quiet", "", cwd=folder) == ["a b.json", "photos"]
    assert bash_offers(script, "p", cwd=folder) == ["photos"]


def test_fish(run_similarity: RunSimilarity, flags: list[dict[str, Any]], tmp_path: Path, folder: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("needs fish")
    script = tmp_path / "similarity.fish"
    script.write_text(generate(run_similarity, "complete-fish"))
    subprocess.run([fish, "--no-execute", str(script)], check=True)

    def offers(line: str) -> set[str]:
        run = subprocess.run(
            [fish, "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", str(script), line],
            cwd=folder,
            env=os.environ | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stderr == ""
        return {offer.split("\t")[0] for offer in run.stdout.splitlines()}

    assert offers("similarity --") == {word for word in spellings(flags) if word.startswith("--")}
    assert offers("similarity --keep s") == {"sharpest"}
    assert offers("similarity --search=") >= {"--search=approximate", "--search=exact"}
    assert offers("similarity --against ") == {"photos/"}
    assert offers("similarity --json a") >= {"a b.json"}


# Completion runs in an interactive shell only; this one prints what it would offer as <word>. It says that it is ready
# from its line editor: before that starts, the terminal itself would take the Ctrl-U and forget the line.
_ZSH_DRIVER = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1= ; fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D
compadd() {
  local -a hits; builtin compadd -O hits \"\$@\"
  (( \$#hits )) && print -r -- '<'\$^hits'>'
  builtin compadd \"\$@\"
}
zle-line-init() { print -r -- rea''dy }
zle -N zle-line-init"
until [[ $output == *ready* ]]; do zpty -r shell output '*ready*'; done
zpty -w -n shell "$2"$'\t'
zpty -w -n shell $'\C-u\nprint do''ne\n'
zpty -r shell output '*done*'
print -r -- "$output"
zpty -d shell
"""


def test_zsh(run_similarity: RunSimilarity, flags: list[dict[str, Any]], tmp_path: Path, folder: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("needs zsh")
    script = tmp_path / "functions" / "_similarity"
    script.parent.mkdir()
    script.write_text(generate(run_similarity, "complete-zsh"))
    subprocess.run([zsh, "-n", str(script)], check=True)
    driver = tmp_path / "driver.zsh"
    driver.write_text(_ZSH_DRIVER)

    def offers(line: str) -> set[str]:
        run = subprocess.run(
            [zsh, "-f", str(driver), str(script.parent), line],
            cwd=folder,
            env=os.environ | {"HOME": str(tmp_path), "TERM": "dumb"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return set(re.findall(r"<(.*?)>", run.stdout))

    assert offers("similarity --") >= {word for word in spellings(flags) if word.startswith("--")}
    assert offers("similarity --keep s") == {"sharpest"}


def test_old_names_are_not_offered(flags: list[dict[str, Any]]) -> None:
    assert {flag["name"] for flag in flags if flag["replaced_by"]} == {"action"}
    assert BINARY.is_file()
