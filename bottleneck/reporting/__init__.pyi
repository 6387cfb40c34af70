from .report_result import ReportResult as ReportResult
