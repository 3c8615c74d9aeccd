"""`python -m benchmarks.compatibility`: the pack beside every node that patches a model, in a table of what works.

candidates: the nodes that are found; cells: what is measured of each; table: verdicts and docs/compatibility.md.
"""
