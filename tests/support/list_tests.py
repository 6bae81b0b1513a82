# SPDX-License-Identifier: Apache-2.0
"""list_tests.py FILE...: a line `FILE CLASS TEST...` for each class of these files that has tests, as unittest finds them.

CMake makes an entry of ctest of each class, so that they run side by side.
"""

import importlib.util
import sys
import unittest
from pathlib import Path


def classes(path):
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in vars(module).items():
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__:
            tests = unittest.defaultTestLoader.getTestCaseNames(value)
            if tests:
                yield name, tests


for argument in sys.argv[1:]:
    found = list(classes(Path(argument)))
    if not found:
        sys.exit(f"{argument}: no tests")
    for name, tests in found:
        print(argument, name, *tests)
