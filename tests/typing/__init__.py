"""What type checkers say of decorated functions: checked by mypy and pyright, never run.

Every line with an ignore is an error that both checkers must find: an ignore that is not needed is
an error itself (`warn_unused_ignores`, `reportUnnecessaryTypeIgnoreComment`).
"""
