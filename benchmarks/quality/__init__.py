"""Edits with a known truth: `python dev.py quality` compares methods and writes RESULTS.md.

cases.json is the list of edits, methods.py what is compared, editor.py makes a clip of a case, runs.py keeps the
clips, measures.py and judge.py judge them, tables.py, pictures.py and report.py show it.
"""
