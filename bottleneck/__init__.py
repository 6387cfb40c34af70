"""Linear classifiers on the cached codes of a frozen CNN.

A frozen network is a fixed function. `extract` runs it once over the images and caches the ReLU'd
activations ("CNN codes") of any layer in HDF5 shards. `fit` and `sweep` train linear classifiers on
the cached codes, `tune` the network's own layers behind a cached one; `predict` and `evaluate` use
either.

Importing this package imports nothing else: each name below is loaded when it is first used.

Examples
--------
>>> import bottleneck as bn
>>> cache = bn.extract(
...     "photos", "photos.cache", model="resnet50", layers=["layer3"]
... )  # doctest: +SKIP
>>> result = bn.fit(cache, "svm")  # doctest: +SKIP
>>> result.head.save("head.safetensors")  # doctest: +SKIP
"""

__version__ = "0.1.0"

# Each public name and the module that defines it. `__init__.pyi` says the same to type checkers.
_HOMES = {
    "Advice": "advising.advice",
    "ArrayTask": "runtime.schedulers.array_task",
    "AuditResult": "auditing.audit_result",
    "BottleneckError": "errors",
    "Cache": "cache.store",
    "CacheStatus": "cache.status",
    "ClassifierOptions": "linear.training",
    "ComputeOptions": "extraction.options",
    "Evaluation": "prediction.evaluate",
    "ExportResult": "exporting.export_result",
    "ExtractionPlan": "extraction.planning.extraction_plan",
    "ExtractionResult": "extraction.result",
    "FitResult": "fitting.fit_result",
    "Head": "fitting.heads.head",
    "ImageSource": "data.image_source",
    "InputTransform": "input_transform",
    "LayerTable": "backbones.layer_table",
    "Prediction": "prediction.prediction",
    "Progress": "runtime.progress",
    "ProgressBar": "runtime.progress_bar",
    "RepairResult": "extraction.result",
    "ReportResult": "reporting.report_result",
    "RunOptions": "extraction.options",
    "SearchOptions": "fitting.selection.options",
    "SourceSummary": "data.summary",
    "StorageOptions": "extraction.options",
    "SweepResult": "fitting.sweep_result",
    "TuneOptions": "finetuning.options",
    "TuneResult": "finetuning.tune_result",
    "TunedTail": "finetuning.tuned_tail",
    "VerificationReport": "cache.verify",
    "ViewOptions": "extraction.options",
    "ViewRecipe": "data.resizing.view_recipe",
    "advise": "advising.advise",
    "audit": "auditing.audit",
    "evaluate": "prediction.evaluate",
    "export": "exporting.export",
    "extract": "extraction.extract",
    "fit": "fitting.fit",
    "layers": "backbones.layer_table",
    "open_cache": "cache.store",
    "open_executor": "runtime.executors.backends",
    "open_images": "data.images",
    "plan": "extraction.plan",
    "predict": "prediction.predict",
    "repair": "extraction.repair",
    "report": "reporting.report",
    "status": "cache.store",
    "summarize_images": "data.summary",
    "sweep": "fitting.sweep",
    "tune": "finetuning.tune",
    "verify": "cache.verify",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from bottleneck.runtime import importing

    with importing():
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*_HOMES, "__version__"]
