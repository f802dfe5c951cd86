"""What runs on the nodes: the companion of a connection and the agent of a run. The standard library alone.

All of it is sent over the connection (`engine.cluster.pushed`), so that a node needs a Python and nothing else of ours,
and always runs the version that talks to it. Whatever is imported here must be here too, or be sent along by
`engine.cluster.pushed`, or be in the standard library of Python 3.9.
"""
