"""Many edits from one table: `python dev.py batch edits.csv`. See __main__.py for what the table holds.

table.py reads the rows, graph.py puts a row's fields into the workflow, parts.py cuts a long clip (clip.py measures it,
whole_only.py says what cannot be cut), tasks.py makes the tasks and says which are done, local.py and on_ray.py run
them, run_task.py each of them, results.py keeps what they give, join.py puts parts together, failure.py tells what went
wrong and summary.py what became of all.
"""
