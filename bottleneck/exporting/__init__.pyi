from .export_result import ExportResult as ExportResult
