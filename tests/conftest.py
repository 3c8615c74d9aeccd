"""What every test needs: ComfyUI with the pack as `fatezero_pack`, and the servers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import comfyui_pack  # noqa: E402,F401
from server_fixtures import old_server, server, start_server  # noqa: E402,F401
