import subprocess
import sys

import cython
import pytest

from vestibule.protocols.postgres import uncompiled


@pytest.mark.parametrize("word", [name for name in vars(uncompiled) if name.islower() and not name.startswith("_")])
def test_every_word_is_one_of_cythons(word):
    assert word == "annotations" or hasattr(cython, word)


def test_what_is_made_for_c_stays_what_it_is():
    def function():
        return 1

    assert uncompiled.cfunc(function) is uncompiled.exceptval(check=False)(function) is function
    assert uncompiled.declare(uncompiled.uchar, 7) == 7
    assert uncompiled.compiled is False


def test_the_kernel_needs_no_cython_to_run():
    code = (
        "import sys; sys.modules['cython'] = sys.modules['Cython'] = None\n"
        "from importlib.util import find_spec, module_from_spec, spec_from_file_location\n"
        "from pathlib import Path\n"
        "from vestibule.protocols.postgres import uncompiled\n"
        "spec = spec_from_file_location('pure', Path(uncompiled.__file__).with_name('rows.py'))\n"
        "rows = module_from_spec(spec); spec.loader.exec_module(rows)\n"
        "assert rows.BUILD == 'pure' and rows.scan(b'', 0, 0, 1) == (0, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
