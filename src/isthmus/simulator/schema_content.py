"""Tables: text with its citations, images, documents."""

from __future__ import annotations

from .schema_base import CITATIONS_SWITCH, COUNT, STRING, marked
from .shapes import Either, Items, Object, Shape, Tagged, Text

QUOTE: dict[str, Shape] = {"type": STRING, "cited_text!": STRING}
DOCUMENT_QUOTE: dict[str, Shape] = {
    **QUOTE,
    "document_index!": COUNT,
    "document_title!?": STRING,
    "file_id?": STRING,
}

CITATION = Tagged(
    {
        "char_location": Object(
            {**DOCUMENT_QUOTE, "start_char_index!": COUNT, "end_char_index!": COUNT}
        ),
        "page_location": Object(
            {**DOCUMENT_QUOTE, "start_page_number!": COUNT, "end_page_number!": COUNT}
        ),
        "content_block_location": Object(
            {**DOCUMENT_QUOTE, "start_block_index!": COUNT, "end_block_index!": COUNT}
        ),
        "web_search_result_location": Object(
            {**QUOTE, "url!": STRING, "title!?": STRING, "encrypted_index!": STRING}
        ),
        "search_result_location": Object(
            {
                **QUOTE,
                "source!": STRING,
                "title!?": STRING,
                "search_result_index!": COUNT,
                "start_block_index!": COUNT,
                "end_block_index!": COUNT,
            }
        ),
    }
)

TEXT = marked({"text!": STRING, "citations?": Items(CITATION)})
IMAGE = marked(
    {
        "source!": Tagged(
            {
                "base64": Object(
                    {
                        "type": STRING,
                        "media_type!": Text(
                            values=("image/jpeg", "image/png", "image/gif", "image/webp")
                        ),
                        "data!": STRING,
                    }
                ),
                "url": Object({"type": STRING, "url!": STRING}),
                "file": Object({"type": STRING, "file_id!": STRING}),
            }
        ),
        "transformations?": Object({"oversized_image": Text(values=("downsize", "error"))}),
    }
)

DOCUMENT = marked(
    {
        "source!": Tagged(
            {
                "base64": Object(
                    {
                        "type": STRING,
                        "media_type!": Text(values=("application/pdf",)),
                        "data!": STRING,
                    }
                ),
                "text": Object(
                    {"type": STRING, "media_type!": Text(values=("text/plain",)), "data!": STRING}
                ),
                "content": Object(
                    {
                        "type": STRING,
                        "content!": Either(
                            string=STRING, array=Items(Tagged({"text": TEXT, "image": IMAGE}))
                        ),
                    }
                ),
                "url": Object({"type": STRING, "url!": STRING}),
                "file": Object({"type": STRING, "file_id!": STRING}),
            }
        ),
        "title?": STRING,
        "context?": STRING,
        "citations?": CITATIONS_SWITCH,
    }
)
