"""The scripts that make pages can be imported."""

import sys

from page_commands import ROOT

sys.path.insert(0, str(ROOT / "scripts" / "site"))
