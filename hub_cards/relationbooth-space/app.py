"""The page of RelationBooth, on the miniature: a free CPU is enough."""

from relationbooth_pipeline.app.server import serve
from relationbooth_pipeline.app.studio import Studio

serve(Studio(), host="0.0.0.0", port=7860, public=True)
