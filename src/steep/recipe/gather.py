"""What a recipe may say about where its text comes from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from steep.section import (
    Address,
    Addresses,
    Count,
    Encoding,
    NoSwitch,
    Positive,
    RegularExpression,
    Section,
    Text,
    Texts,
)

Tags = Literal["keep", "strip", "split"]
USER_AGENT = "steep (+https://pypi.org/project/steep)"


class SourceSection(Section):
    """One entry of `gather`; its first key says what kind of source it is."""

    kind: ClassVar[str]
    """That first key."""
    on_disk: ClassVar[bool] = False
    """Whether that key may name files of this machine."""
    credential: ClassVar[str | None] = None
    """The key whose value is the name of an environment variable that holds a secret."""

    if TYPE_CHECKING:  # each kind has them, in its own words
        name: str | None
        licence: str | None

    @property
    def places(self) -> list[str]:
        """What stands at the first key: paths, addresses or names."""
        value = getattr(self, self.kind)
        return list(value) if isinstance(value, list) else [value]

    def at_most(self, limit: int) -> SourceSection:
        """The same source, asked for no more than this many documents where it can be told before."""
        return self


class ColumnsSource(SourceSection):
    text: str = "text"
    """Column that holds the text, in tables. A list of texts becomes one text with blank lines between."""
    title: str = "title"
    """Column that holds the title, where there is one."""
    published: str = "published"
    """Column that holds the date, where there is one; ISO 8601 or RFC 2822, UTC where no zone is given."""
    url: str = "url"
    """Column that holds the address, where there is one."""


class FilesSource(ColumnsSource):
    """Files: txt, md, html, pdf, jsonl, csv, tsv, parquet; also compressed as .gz, .xz, .zst."""

    kind: ClassVar[str] = "files"
    on_disk: ClassVar[bool] = True

    files: Texts
    """Paths or globs, relative to the recipe's folder; or addresses of an object store: s3://, gs://, az://, https://."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the file's name."""
    encoding: Encoding | None = None
    """Of text files; detected where not given."""
    licence: str | None = None
    """Licence of these texts, kept with each document; `own` for what is yours."""


class WebSource(SourceSection):
    """A website, crawled politely: robots.txt is obeyed and the pace follows the server's answers."""

    kind: ClassVar[str] = "web"

    web: Addresses
    """Start addresses; one may be a sitemap itself."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the host name."""
    sitemap: Address | list[Address] = Field(default=[])
    """Addresses of sitemaps whose pages are fetched as well."""
    max_pages: Count = 500
    """Stop after this many pages."""
    max_depth: Annotated[int, Field(ge=0), NoSwitch] | None = None
    """Follow links no further than this from the start addresses; pages of sitemaps count as 1."""
    include: list[RegularExpression] = Field(default=[])
    """Regular expressions; an address must match one of them to be kept as a document."""
    exclude: list[RegularExpression] = Field(default=[])
    """Regular expressions; an address that matches one is not fetched."""
    render: Literal["never", "auto", "always"] = "never"
    """`auto` opens a page in Chromium if its main text is missing without JavaScript; needs the extra `web`."""
    pdf: bool = False
    """Fetch PDF files that pages of the site link to, too, and take their text."""
    timeout: Positive = 30.0
    """Seconds after which a page counts as failed."""
    max_bytes: Count = 10_000_000
    """Larger pages count as failed."""
    user_agent: str = USER_AGENT
    """How the crawler names itself."""
    licence: str | None = None
    """Licence of pages that declare none; `own` for what is yours."""

    def at_most(self, limit: int) -> WebSource:
        return self.model_copy(update={"max_pages": min(self.max_pages, limit)})


class NewsSource(SourceSection):
    """A news API: articles as title and description, or in full."""

    kind: ClassVar[str] = "news"
    credential: ClassVar[str | None] = "access_key"

    news: Literal["mediastack"]
    """The provider."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the provider's name."""
    access_key: Text = "MEDIASTACK_ACCESS_KEY"
    """Name of the environment variable that holds the access key. The key itself is never written anywhere."""
    keywords: list[Text] = Field(default=[])
    """Words that must occur; with a `-` before it a word must not."""
    categories: list[Text] = Field(default=[])
    """general, business, entertainment, health, science, sports, technology; with a `-` before it: not."""
    countries: list[Text] = Field(default=[])
    """Codes of two letters, such as us or gb; with a `-` before it: not."""
    languages: list[Text] = Field(default=[])
    """Codes of two letters, such as en or de; with a `-` before it: not."""
    sources: list[Text] = Field(default=[])
    """Names of news sources, such as cnn or bbc; with a `-` before it: not."""
    since: date | None = None
    """First day; with it the historical articles are searched, which a free plan does not include."""
    until: date | None = None
    """Last day; by default the day in `since`."""
    sort: Literal["published_desc", "published_asc", "popularity"] = "published_desc"
    """Which articles come first, where there are more than `limit`."""
    limit: Count = 1000
    """Stop after this many articles."""
    articles: bool = False
    """Fetch each article's page and take its main text; without it the text is the description."""
    address: Address = "http://api.mediastack.com/v1"
    """Of the service; https:// needs a paid plan."""
    timeout: Positive = 30.0
    """Seconds after which a request counts as failed."""
    user_agent: str = USER_AGENT
    """How the reader of the articles' pages names itself."""
    licence: str | None = None
    """Licence of these texts, kept with each document."""

    @model_validator(mode="after")
    def _in_order(self) -> NewsSource:
        if self.until and not self.since:
            raise ValueError("`until` needs `since`: name the first day as well")
        if self.since and self.until and self.until < self.since:
            raise ValueError(f"until ({self.until}) is before since ({self.since})")
        return self

    def at_most(self, limit: int) -> NewsSource:
        return self.model_copy(update={"limit": min(self.limit, limit)})


class FeedSource(SourceSection):
    """News feeds: RSS and Atom."""

    kind: ClassVar[str] = "feed"

    feed: Addresses
    """Addresses of feeds."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the feed's title."""
    limit: Count = 1000
    """Stop after this many entries."""
    articles: bool = False
    """Fetch each entry's page and take its main text; without it the text is what the feed holds."""
    timeout: Positive = 30.0
    """Seconds after which a request counts as failed."""
    user_agent: str = USER_AGENT
    """How the reader names itself."""
    licence: str | None = None
    """Licence of entries that declare none; `own` for what is yours."""

    def at_most(self, limit: int) -> FeedSource:
        return self.model_copy(update={"limit": min(self.limit, limit)})


class _Posts(SourceSection):
    owner: Texts
    """Page or user name whose posts are kept; several where the networks know it by different names."""
    hashtags: Tags = "keep"
    """`strip` removes them; `split` turns `#GoodMorningTea` into `Good Morning Tea`."""
    mentions: Tags = "keep"
    """Of other accounts: `strip` removes them; `split` turns `@kettle_club` into `kettle club`."""


class SocialSource(_Posts):
    """Apify exports (JSON, JSONL, CSV) of Facebook pages and Instagram: posts of the owner only, never comments."""

    kind: ClassVar[str] = "social"
    on_disk: ClassVar[bool] = True

    social: Texts
    """Paths or globs, relative to the recipe's folder."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the file's name."""
    licence: str | None = None
    """Licence of these posts, kept with each document; `own` for what is yours."""


class ApifySource(_Posts):
    """Facebook pages and Instagram profiles, fetched now by Apify's actors. Costs what Apify charges."""

    kind: ClassVar[str] = "apify"
    credential: ClassVar[str | None] = "token"

    apify: Addresses
    """Addresses of pages and profiles, such as https://www.instagram.com/brand_tea."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the network's name."""
    token: Text = "APIFY_TOKEN"
    """Name of the environment variable that holds the API token. The token itself is never written anywhere."""
    limit: Count = 200
    """Posts of each page or profile."""
    since: date | None = None
    """First day."""
    licence: str | None = None
    """Licence of these posts, kept with each document; `own` for what is yours."""

    def at_most(self, limit: int) -> ApifySource:
        return self.model_copy(update={"limit": min(self.limit, limit)})


class HubSource(ColumnsSource):
    """A data set of the Hugging Face hub."""

    kind: ClassVar[str] = "hub"

    hub: Text
    """Its id, such as ankitagr01/dynamic_topic_modeling_arxiv_abstracts, or a folder with a data set."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default the id."""
    config: str | None = None
    """Configuration, where the data set has several."""
    split: Text = "train"
    """Which split, or several: `train+test`, `all`; also slices such as `train[:10%]`, without `streaming`."""
    revision: str | None = None
    """Branch, tag or commit; the commit that was used is kept with the run."""
    streaming: bool = True
    """Read over the network as it goes instead of downloading the data set first."""
    limit: Count | None = None
    """Stop after this many rows."""
    licence: str | None = None
    """Licence of these texts; by default what the data set's card declares."""

    @model_validator(mode="after")
    def _sliced_on_disk(self) -> HubSource:
        if self.streaming and "[" in self.split:
            raise ValueError("a slice of a split needs the whole data set: add `streaming: false`")
        return self

    def at_most(self, limit: int) -> HubSource:
        return self.model_copy(update={"limit": min(self.limit or limit, limit)})


class SqlSource(ColumnsSource):
    """Rows of a data base."""

    kind: ClassVar[str] = "sql"

    sql: Text
    """A query, such as `SELECT body AS text, headline AS title FROM articles`."""
    connection: Text
    """Address of the data base, such as sqlite:///articles.db or ${DATABASE_URL}."""
    name: str | None = None
    """What documents of this entry are called in `source`; by default `sql`."""
    limit: Count | None = None
    """Stop after this many rows."""
    licence: str | None = None
    """Licence of these texts, kept with each document; `own` for what is yours."""

    def at_most(self, limit: int) -> SqlSource:
        return self.model_copy(update={"limit": min(self.limit or limit, limit)})


SOURCES: dict[str, type[SourceSection]] = {
    source.kind: source
    for source in (
        FilesSource,
        WebSource,
        NewsSource,
        FeedSource,
        SocialSource,
        ApifySource,
        HubSource,
        SqlSource,
    )
}


def _kind_of_source(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return next((kind for kind in SOURCES if kind in value), None)
    return value.kind if isinstance(value, SourceSection) else None


Source = Annotated[
    Annotated[FilesSource, Tag("files")]
    | Annotated[WebSource, Tag("web")]
    | Annotated[NewsSource, Tag("news")]
    | Annotated[FeedSource, Tag("feed")]
    | Annotated[SocialSource, Tag("social")]
    | Annotated[ApifySource, Tag("apify")]
    | Annotated[HubSource, Tag("hub")]
    | Annotated[SqlSource, Tag("sql")],
    Discriminator(_kind_of_source),
]
