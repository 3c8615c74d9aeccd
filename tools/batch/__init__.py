"""Many edits from one table: `python dev.py batch edits.csv`. See __main__.py for what the table holds.

table.py reads the rows, graph.py puts a row's fields into the workflow, parts.py cuts a long clip, tasks.py makes the
tasks and says which are done, local.py and on_ray.py run them, results.py keeps what they give and summary.py tells it.
"""
