"""`python -m benchmarks.compatibility`: the pack beside every node of a graph, in a table of what works.

candidates: the nodes that are found, with values for their inputs; graph: where they stand; cells: what is measured;
table: verdicts and docs/compatibility.md; families: checkpoints at their real shapes.
"""
