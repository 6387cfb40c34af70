"""Measure all that a GPU is used for: `python -m benchmarks.gpu`."""

from benchmarks.gpu.report import main

if __name__ == "__main__":
    main()
