"""The system's file operations with something in place of each: for tests that fail, count or kill at one of them."""

from npsnn import _files

OPERATIONS = ("create", "write", "flush", "close", "replace", "flush_folder")


class Watched(_files.System):
    """Every operation of a write goes through `around`; `calls` of them came so far."""

    calls = 0

    def __getattribute__(self, name):
        operation = super().__getattribute__(name)
        return (lambda *arguments: self._call(operation, *arguments)) if name in OPERATIONS else operation

    def _call(self, operation, *arguments):
        self.calls += 1
        return self.around(operation, *arguments)

    def around(self, operation, *arguments):
        """Instead of the operation; this one just does it."""
        return operation(*arguments)
