"""The pytest plugin: real pytest runs, real crashes."""
