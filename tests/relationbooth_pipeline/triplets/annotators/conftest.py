from tests.relationbooth_pipeline.vision.conftest import annotators

__all__ = ["annotators"]
