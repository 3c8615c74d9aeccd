"""Edits with a known truth: `python dev.py quality` compares methods and writes RESULTS.md.

Lists: cases.json and hard_cases.json, which draw_cases.py and draw_hard_cases.py drew once; cases.py reads them.
Clips: methods.py says what is compared, editor.py makes a clip of a case, runs.py keeps the clips.
Measures: measures.py, located.py (is each thing at its place?), strength.py (re-weighted words), judge/.
Reports: split.py and split_report.py for the second list, tables.py, pictures.py and report.py for the first,
intervals.py for how sure a mean is.
"""
