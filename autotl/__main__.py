"""`python -m autotl` is `autotl`."""

from autotl.cli import main

if __name__ == "__main__":
    main(prog_name="python -m autotl")
