"""Search in a gallery of embeddings: exact, by blocks, over several devices, in float32 or with int8 codes."""

from mmjax.search.exact import Found, Resident, search
from mmjax.search.gallery import Gallery, open_gallery, write_gallery

__all__ = ["Found", "Gallery", "Resident", "open_gallery", "search", "write_gallery"]
