"""The engine for many machines: services live in Ray's actors, one process on every device.

``settings.prepare`` comes before anything that imports Ray, which reads its settings then.
"""
