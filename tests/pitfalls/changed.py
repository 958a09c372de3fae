"""A module whose globals are changed by functions of another one."""

results: list[int] = []
cache: dict[int, int] = {}
latest = 0
total = 0
