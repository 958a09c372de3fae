"""Run one test, or a class's or module's tests, in a process of its own.

    pytest_plugin.py ──► marker ──► protocol ──► isolated_test ──► inner
      the hooks          what was    its reports,  its process:      in that process: collects
                         asked       in order      start and limits  it again and runs it

Nothing in here is imported before an isolated test is collected, but `unpatched`. Both sides speak
through `shared_files`; `bootstrap` is the process's first module and needs nothing of Procession.
"""
