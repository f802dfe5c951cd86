"""The headless commands: parse, call, print. stdout is data, stderr is for people."""
