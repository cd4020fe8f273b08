"""`python -m wavegen` is the command `wavegen`."""

from wavegen.cli.main import main

main()
