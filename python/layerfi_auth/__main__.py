"""Runs the command ``layerfi-auth`` as ``python -m layerfi_auth``."""

from layerfi_auth._command import main

if __name__ == "__main__":
    main()
