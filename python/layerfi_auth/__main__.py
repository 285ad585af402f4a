"""``python -m layerfi_auth``: the same as the command ``layerfi-auth``."""

from layerfi_auth._command import main

if __name__ == "__main__":
    main()
