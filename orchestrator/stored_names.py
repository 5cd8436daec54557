"""What we write into stores under a fixed name: the stamp on our documents, and our tags on promises.

Stores keep these for years, so no name here ever changes.
"""

from __future__ import annotations

from typing import Final

#: The stamp on every document that we store, under the key `countersign`: by it we know our own. What is only added to
#: a document keeps the stamp; a document that means something else gets another one. Patterns read it as
#: `{"countersign": stored_names.FORMAT, ...}`.
FORMAT: Final = 1

#: What a promise is for, never what it holds: the step's name, the callback's.
STEP_TAG: Final = "countersign:step"
CALLBACK_TAG: Final = "countersign:callback"

#: Tells a root from every other one of its id.
NONCE_TAG: Final = "countersign:nonce"

#: Marks promises that only drive something and tell nothing once they are over: an engine may drop them soon.
TRANSIENT_TAG: Final = "countersign:transient"
