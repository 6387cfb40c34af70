from .audit import audit as audit
from .audit_result import AuditResult as AuditResult
from .duplicates import ImageGroup as ImageGroup
