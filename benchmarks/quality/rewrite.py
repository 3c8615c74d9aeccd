"""`python -m benchmarks.quality.rewrite`: all tables of RESULTS.md anew, from results.json and splits.json alone."""

from . import report, split_report

if __name__ == "__main__":
    report.write_stored()
    split_report.write_stored()
