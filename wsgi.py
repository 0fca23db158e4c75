"""What gunicorn and the `flask` command load."""

import sys

from codyverse import create_app
from config import SettingsError

try:
    app = create_app()
except SettingsError as error:
    print(f"codyverse: {error}", file=sys.stderr)
    raise SystemExit(2) from None
