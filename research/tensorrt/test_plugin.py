"""The plugin: where headers are looked for, and, where they are, that it compiles and does what TensorRT asks of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from research.tensorrt import nvidia, plugin_build
from research.tensorrt.nvidia import BuildError, MissingError


@pytest.fixture(scope="module")
def headers() -> Path:
    """The folder of TensorRT's headers; few machines have them."""
    try:
        plugin_build.cuda_headers()
        return plugin_build.headers()
    except MissingError as error:
        pytest.skip(str(error))


def test_headers_are_those_of_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugin_build.VARIABLE, str(tmp_path))
    with pytest.raises(MissingError, match="set TENSORRT_INCLUDE to the folder"):
        plugin_build.headers()
    (tmp_path / "NvInferRuntime.h").touch()
    assert plugin_build.headers() == tmp_path


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (
            "#define NV_TENSORRT_MAJOR 10\n#define NV_TENSORRT_MINOR 7 //!< minor\n#define NV_TENSORRT_PATCH 0\n",
            "10.7.0",
        ),
        (
            "#define A 11\n#define B 4\n#define C 0\n#define NV_TENSORRT_MAJOR A\n#define NV_TENSORRT_MINOR B\n"
            "#define NV_TENSORRT_PATCH C\n",
            "11.4.0",
        ),
        ("#define NV_TENSORRT_MAJOR (10)\n", "unknown"),
    ],
)
def test_releases_are_read_in_both_styles(text: str, release: str, tmp_path: Path) -> None:
    assert plugin_build.release(tmp_path) == "unknown"
    (tmp_path / "NvInferVersion.h").write_text(text)
    assert plugin_build.release(tmp_path) == release


def test_it_exports_the_two_functions_that_tensorrt_looks_up() -> None:
    exports = (plugin_build.SOURCES / "exports.map").read_text()
    assert "global: getCreators; setLoggerFinder;" in exports


def test_nothing_in_it_throws() -> None:
    source = (plugin_build.SOURCES / "reduction_plugin.cc").read_text()
    code = "\n".join(line.split("//")[0] for line in source.splitlines())
    assert code.count("new ") == code.count("new (std::nothrow)") == 2
    assert not [word for word in ("throw ", "std::string", "std::vector", "try ") if word in code]


def test_it_compiles_without_warnings_and_does_what_is_asked(headers: Path) -> None:
    assert plugin_build.test(headers, optimise="-O0")["failed"] == 0


@pytest.mark.parametrize(
    ("failed", "status", "found"), [(0, 0, 0), (256, 1, 256), (256, 0, None), (0, 1, None), (0, 139, None)]
)
def test_the_count_of_failures_is_what_the_program_prints(
    failed: int, status: int, found: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A compiler that makes the same program of everything.
    compiler = tmp_path / "compiler"
    program = f"#!/bin/sh\necho '{failed} failed'\nexit {status}\n"
    (tmp_path / "program").write_text(program)
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo made up && exit\nfor last; do :; done\n'
        f'cp "{tmp_path}/program" "$last" && chmod +x "$last"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setattr(plugin_build, "cuda_headers", lambda: tmp_path)
    if found is None:
        with pytest.raises(BuildError, match=f"ended early, status {status}"):
            plugin_build.test(tmp_path, compiler=str(compiler))
    else:
        assert plugin_build.test(tmp_path, compiler=str(compiler))["failed"] == found


def test_a_planted_error_is_noticed(headers: Path, tmp_path: Path) -> None:
    for name in ("reduction_plugin.cc", "plugin_test.cc"):
        shutil.copy(plugin_build.SOURCES / name, tmp_path)
    source = tmp_path / "reduction_plugin.cc"
    text = source.read_text()
    assert text.count("    planned_ = false;\n") == 1
    source.write_text(text.replace("    planned_ = false;\n", ""))
    assert plugin_build.test(headers, sources=tmp_path, optimise="-O0")["failed"] == 1
    source.write_text(text + "\nint unused = 1.5F;\n")
    with pytest.raises(BuildError, match=r"the plugin does not compile: .*error"):
        plugin_build.test(headers, sources=tmp_path, optimise="-O0")


def test_nvidias_registry_loads_the_library_that_was_built() -> None:
    pytest.importorskip("tensorrt_rtx")
    built = plugin_build.ROOT / "build" / "tensorrt" / plugin_build.LIBRARY
    if not built.is_file():
        pytest.skip("the plugin is not built: research.tensorrt.plugin_build")
    found = plugin_build.registered(nvidia.find(), built)
    assert (found["name"], found["version"], found["namespace"], found["created"]) == ("Reduction", "1", "rrn", True)
