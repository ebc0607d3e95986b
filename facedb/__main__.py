"""`python -m facedb` is the command line."""

from facedb.cli.main import main

if __name__ == "__main__":
    main()
