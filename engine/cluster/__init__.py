"""Nodes and the ways to them: hostfiles, SSH and local transports, the node agent, the testbed."""
