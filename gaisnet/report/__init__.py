"""Views of a profile, a plan and a run: in the terminal, and as a page."""

from gaisnet.report.extrapolation_view import calibration_view
from gaisnet.report.html import report_html
from gaisnet.report.plan_view import plan_view
from gaisnet.report.profile_view import preset_table, profile_table
from gaisnet.report.run_record import RunRecord, read_run
from gaisnet.report.run_view import run_view
from gaisnet.report.session import Format, ProgressCallback, Session
from gaisnet.report.terminal import read_subject, view

__all__ = [
    "Format",
    "ProgressCallback",
    "RunRecord",
    "Session",
    "calibration_view",
    "plan_view",
    "preset_table",
    "profile_table",
    "read_run",
    "read_subject",
    "report_html",
    "run_view",
    "view",
]
