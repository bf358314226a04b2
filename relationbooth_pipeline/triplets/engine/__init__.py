"""From a plan or from pictures to triplets: stages that read and write the files of one work folder."""

from .candidates import Candidate
from .work_folder import WorkFolder, inputs_digest

__all__ = ["Candidate", "WorkFolder", "inputs_digest"]
