"""Run one test, or a class's or module's tests, in a process of its own.

    pytest_plugin.py ──► marker ──► protocol ──► child process ──► inner (the test's side)
      (hooks)            (what was   (reports,    (start, watch,     (collects it again, runs it,
                          asked)      crashes)     kill)              reports phase by phase)

Nothing in here is imported before an isolated test is collected. Both sides speak through
`records`; `bootstrap` is the child's first module and needs nothing of ours.
"""
