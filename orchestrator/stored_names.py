"""The fixed names that we write into stores: the stamp on our documents, and our tags on promises.

Stores keep these for years, so no name here ever changes.
"""

from __future__ import annotations

from typing import Final

#: The stamp on every document that we store, under the key `countersign`. We recognise our own documents by it. Adding
#: to a document keeps the stamp; a document that means something else gets another one. Patterns read it as
#: `{"countersign": stored_names.FORMAT, ...}`.
FORMAT: Final = 1

#: What a promise is for, never what it holds: the name of the step or of the callback.
STEP_TAG: Final = "countersign:step"
CALLBACK_TAG: Final = "countersign:callback"

#: On a wait for people: who may answer it, and a keyed digest of each person asked, separated by spaces.
AUDIENCE_TAG: Final = "countersign:audience"
PEOPLE_TAG: Final = "countersign:people"

#: On a wait for a machine: the outcomes that it allows, as a JSON list, where they are not the usual two.
OUTCOMES_TAG: Final = "countersign:outcomes"

#: On a step that runs another workflow: that workflow's name. On that workflow's root: the id of the step.
CHILD_TAG: Final = "countersign:child"
PARENT_TAG: Final = "countersign:parent"

#: On the root of a sub-workflow: how many workflows are above it.
DEPTH_TAG: Final = "countersign:depth"

#: Distinguishes a root from every other root with the same id.
NONCE_TAG: Final = "countersign:nonce"

#: A header of the value of a root that has ended: the state in which its workflow ended, for engines to search by. What
#: is shown is read from the value itself.
STATE_HEADER: Final = "countersign:state"

#: A header of the value of a step that has ended while parts of the workflow's code ran at once: a number that tells
#: the order of those that ended in the same millisecond.
ENDED_HEADER: Final = "countersign:ended"

#: Marks a promise that is no step, and only keeps the place of a part that did not begin with anything recorded.
PLACE_TAG: Final = "countersign:place"

#: Marks every wait, and every workflow's root, that counts from the moment at which it was created.
OPENING: Final = {"countersign:opening": "bound"}

#: Marks promises that only drive something and are of no interest once they are over: an engine may drop them soon.
TRANSIENT_TAG: Final = "countersign:transient"
