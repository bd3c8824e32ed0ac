"""Builds `libreduction_torch.so` with setuptools instead of CMake, from the same sources.

    cd bindings/torch_extension
    python setup.py build_ext --build-lib OUTPUT          # writes OUTPUT/libreduction_torch.so
    python -c "import torch; torch.ops.load_library('OUTPUT/libreduction_torch.so'); print(torch.ops.rrn.reduction)"

or `pip install --no-build-isolation ./bindings/torch_extension`, after which `rrn_native.model.torch_op.load_library()`
finds it. (`--no-build-isolation`, because the library must be built against the PyTorch it will be loaded into.)

The CUDA kernel is compiled where PyTorch was built with CUDA and the CUDA toolkit is installed (`CUDA_HOME`).
Needs setuptools, a C++ compiler and torch; uses ninja where it is installed.
"""

import os
from pathlib import Path

import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

# setuptools wants paths relative to this file.
ROOT = Path("..") / ".."
SOURCES = ROOT / "inference" / "src"
OPERATOR = ["autograd.cc", "checks.cc", "kernels.cc", "library.cc", "reduction.cc"]


class BuildLibrary(BuildExtension):
    """Compiles from absolute paths: object files of sources outside this folder would land outside the build folder."""

    def build_extension(self, ext: Extension) -> None:
        """Builds one extension; see setuptools."""
        ext.sources = [str(Path(source).resolve()) for source in ext.sources]
        super().build_extension(ext)


def make_extension() -> Extension:
    """Describes the library, with the CUDA kernel where it can be compiled and a stand-in for it elsewhere."""
    with_cuda = torch.version.cuda is not None and CUDA_HOME is not None
    kernels = ["reduction.cc", "sums.cc", "sums_avx2.cc"]
    kernels.append("reduction_cuda.cu" if with_cuda else "reduction_no_cuda.cc")
    cxx_flags = ["-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]
    nvcc_flags = ["-O3", "--expt-relaxed-constexpr", "-Xcompiler", "-fvisibility=hidden"]
    return (CUDAExtension if with_cuda else CppExtension)(
        name="libreduction_torch",
        sources=[str(SOURCES / "torch_op" / name) for name in OPERATOR]
        + [str(SOURCES / "reduction" / name) for name in kernels],
        include_dirs=[str((ROOT / "include").resolve()), str(SOURCES.resolve())],
        extra_compile_args={"cxx": cxx_flags, "nvcc": nvcc_flags},
        # No Python in the library: it is loaded by torch.ops.load_library, not imported.
        py_limited_api=True,
    )


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent)
    setup(
        name="rrn-torch-op",
        version="0.1.0",
        description="The reduction operator of rrn for PyTorch",
        ext_modules=[make_extension()],
        cmdclass={"build_ext": BuildLibrary.with_options(no_python_abi_suffix=True)},
        py_modules=[],
    )
