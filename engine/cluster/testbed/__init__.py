"""Real OpenSSH nodes on this machine, for tests, the demo, and people who want to try Plumbline without a cluster."""

from engine.cluster.testbed.ground import NodeProcess
from engine.cluster.testbed.programs import INSTALL_SSHD, sshd_path
from engine.cluster.testbed.testbed import Testbed

__all__ = ["INSTALL_SSHD", "NodeProcess", "Testbed", "sshd_path"]
