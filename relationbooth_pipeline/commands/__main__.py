"""`python -m relationbooth_pipeline.commands`: the command `relationbooth` of this very checkout."""

from .main import app

if __name__ == "__main__":
    app(prog_name="relationbooth")
