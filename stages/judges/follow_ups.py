"""What a satisfied and a dissatisfied user might say next, by what they are (dis)satisfied with (FLR, spec judges §9)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class FollowUps(BaseModel):
    """Short user turns of one category; the first ones are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)


CATEGORIES: Mapping[str, FollowUps] = {
    made.name: made
    for made in (
        FollowUps(
            name="understanding",
            positive=(
                "You understood exactly what I meant.",
                "Yes, that is what I was asking.",
                "Thanks for getting my question right.",
                "You got my point.",
            ),
            negative=(
                "That is not what I asked.",
                "You misunderstood my question.",
                "I meant something else.",
                "Please read my question again.",
            ),
        ),
        FollowUps(
            name="relevance",
            positive=(
                "That is right to the point.",
                "All of this is relevant to my question.",
                "Thanks for staying on topic.",
                "Nothing in it is beside the point.",
            ),
            negative=(
                "What does this have to do with my question?",
                "You are changing the topic.",
                "Most of this is beside the point.",
                "That is irrelevant.",
            ),
        ),
        FollowUps(
            name="correctness",
            positive=(
                "I checked it, and it is correct.",
                "Yes, that is right.",
                "Thanks, everything you said is true.",
                "That is the right answer.",
            ),
            negative=(
                "That is wrong.",
                "I checked it, and there is a mistake in it.",
                "This is not true.",
                "That is not the right answer.",
            ),
        ),
        FollowUps(
            name="engagingness",
            positive=(
                "That is interesting, tell me more!",
                "I enjoyed reading this.",
                "What a great answer!",
                "I would love to hear more.",
            ),
            negative=(
                "That is boring.",
                "I have lost interest.",
                "What a dull answer.",
                "I do not want to read any further.",
            ),
        ),
        FollowUps(
            name="informativeness",
            positive=(
                "Thanks, I learned a lot from this.",
                "That is all the information I needed.",
                "Very informative, thank you.",
                "That explains it well.",
            ),
            negative=(
                "That tells me nothing new.",
                "This does not give me the information I need.",
                "Can you be more specific?",
                "That explains nothing.",
            ),
        ),
        FollowUps(
            name="following",
            positive=(
                "Thanks for doing exactly as I said.",
                "You followed all of my instructions.",
                "That is just the format I wanted.",
                "You did everything I asked for.",
            ),
            negative=(
                "You did not do what I told you.",
                "You ignored my instructions.",
                "That is not the format I wanted.",
                "You left out part of what I asked for.",
            ),
        ),
    )
}
