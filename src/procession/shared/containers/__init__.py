"""Queues, pipes, lists, dictionaries and namespaces that several processes use."""
