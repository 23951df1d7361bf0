"""Environment variables under which another processor's rounding shows.

TensorFlow turns oneDNN on by itself only on some processors, and each library
picks its kernels by what the processor offers. The variables hold them back.
"""

import numpy as np


def held_back(level):
    """Variables that keep all libraries at ``"SSE41"`` or ``"AVX2"``."""
    features = np.show_config("dicts")["SIMD Extensions"].get("found", [])
    newer = [name for name in features if "512" in name or "V4" in name]
    disabled = newer if level == "AVX2" else features
    core = {"AVX2": "Haswell", "SSE41": "Nehalem"}[level]
    opencv = "AVX512-SKX,AVX512-COMMON,AVX512-ICL,AVX512F"
    if level == "SSE41":
        opencv = "AVX,FP16,AVX2,FMA3," + opencv
    return {
        "ONEDNN_MAX_CPU_ISA": level,
        "NPY_DISABLE_CPU_FEATURES": " ".join(disabled),
        "OPENBLAS_CORETYPE": core,
        "OPENCV_CPU_DISABLE": opencv,
    }


ONE_THREAD = {
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
EIGEN, ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "0"}, {"TF_ENABLE_ONEDNN_OPTS": "1"}

#: Name -> variables. ``farthest`` is the one that CI runs.
ARITHMETICS = {
    "onednn": ONEDNN,
    "eigen": EIGEN,
    "one-thread": ONE_THREAD,
    "avx2": ONEDNN | held_back("AVX2"),
    "sse41": ONEDNN | held_back("SSE41"),
    "farthest": EIGEN | held_back("SSE41") | ONE_THREAD,
}
